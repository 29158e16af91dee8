#include <gtest/gtest.h>

#include "lab04/awq.h"
