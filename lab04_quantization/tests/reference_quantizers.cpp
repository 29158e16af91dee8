#include "reference_quantizers.h"
