#include <gtest/gtest.h>

#include "lab04/kv_quantization.h"
