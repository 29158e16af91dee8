#include <gtest/gtest.h>

#include "lab04/incoherence.h"
