#include "lab04/gptq.h"

int main() {}
