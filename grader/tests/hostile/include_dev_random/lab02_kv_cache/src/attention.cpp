#include "/dev/random"
#include "/dev/zero"
