#include <gtest/gtest.h>

#include "lab04/per_channel.h"
