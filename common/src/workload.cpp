#include "kit/simulated_server.h"
