#include <gtest/gtest.h>

#include "lab04/gptq.h"
