#ifndef DEPTH
#define DEPTH 1
#include "lab02/attention.h"
#endif
static int x;
#include __FILE__
#include __FILE__
