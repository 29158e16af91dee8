#include "lab04/gptq.h"
