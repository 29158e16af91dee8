#include <gtest/gtest.h>

#include "lab04/symmetric.h"
