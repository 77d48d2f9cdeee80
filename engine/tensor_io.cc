#include "engine/tensor_io.h"
