#include <gtest/gtest.h>

#include "lab04/fp8.h"
