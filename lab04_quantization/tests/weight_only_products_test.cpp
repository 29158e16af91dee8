#include <gtest/gtest.h>

#include "lab04/quantized_products.h"
