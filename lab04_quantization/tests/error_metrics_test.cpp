#include <gtest/gtest.h>

#include "lab04/error_metrics.h"
