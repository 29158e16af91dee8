#include "target_model.h"
