#include <gtest/gtest.h>

#include "lab04/group_quantization.h"
