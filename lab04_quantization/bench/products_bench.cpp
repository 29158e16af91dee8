#include "lab04/quantized_products.h"
