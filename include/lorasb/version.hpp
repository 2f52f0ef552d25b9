// The version of the library.
#pragma once

#define LORASB_VERSION_MAJOR 0
#define LORASB_VERSION_MINOR 1
#define LORASB_VERSION_PATCH 0
#define LORASB_VERSION "0.1.0"
