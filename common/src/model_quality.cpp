#include "kit/model_quality.h"
