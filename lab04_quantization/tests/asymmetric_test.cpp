#include <gtest/gtest.h>

#include "lab04/asymmetric.h"
