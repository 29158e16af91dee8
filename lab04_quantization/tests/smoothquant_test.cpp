#include <gtest/gtest.h>

#include "lab04/smoothquant.h"
