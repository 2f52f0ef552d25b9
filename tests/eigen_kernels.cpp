#include "eigen_kernels.hpp"

namespace Eigen::internal {

LORASB_TEST_EIGEN_KERNELS(, float);
LORASB_TEST_EIGEN_KERNELS(, double);

}  // namespace Eigen::internal
