#include <gtest/gtest.h>

#include "lab04/cuda_kernels.h"
