#include <gtest/gtest.h>

#include "lab04/additive_codebooks.h"
