#include <gtest/gtest.h>

#include "lab04/mixed_precision.h"
