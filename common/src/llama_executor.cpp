#include "kit/step_executor.h"
