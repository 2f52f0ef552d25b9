# Two files that hand lorasb's types to each other link where their flags agree, and do not where Eigen aligns memory in two ways.
#   cmake -DSOURCE_DIR=... -DWORK_DIR=... -DCXX=... -DEIGEN=... -P flags.cmake
include(${CMAKE_CURRENT_LIST_DIR}/run.cmake)

file(REMOVE_RECURSE ${WORK_DIR})
file(MAKE_DIRECTORY ${WORK_DIR})
set(flags -std=c++20 -O1 -I ${SOURCE_DIR}/include -I ${EIGEN})
foreach(type "LowRankAdapter<float>" "AdapterBasis<double>" "Parameters<float>" "GradientEstimate<float>" "AdapterSet<float>")
  set(includes "#include <lorasb/adapter/cores.hpp>\n#include <lorasb/adapter/gradient_estimate.hpp>\n")
  file(WRITE ${WORK_DIR}/take.cpp "${includes}void take(lorasb::${type} value) { (void)value; }\n")
  file(WRITE ${WORK_DIR}/give.cpp "${includes}void take(lorasb::${type}); void give(const lorasb::${type}& value) { take(value); }\nint main() {}\n")
  run(${CXX} ${flags} -mavx -c ${WORK_DIR}/take.cpp -o ${WORK_DIR}/take_avx.o)
  run(${CXX} ${flags} -mavx -c ${WORK_DIR}/give.cpp -o ${WORK_DIR}/give_avx.o)
  run(${CXX} ${flags} -c ${WORK_DIR}/give.cpp -o ${WORK_DIR}/give.o)
  run(${CXX} ${WORK_DIR}/give_avx.o ${WORK_DIR}/take_avx.o -o ${WORK_DIR}/same)
  fails("align16" ${CXX} ${WORK_DIR}/give.o ${WORK_DIR}/take_avx.o -o ${WORK_DIR}/mixed)
endforeach()

# clang warns where a view outlives a temporary
find_program(clang clang++)
if(clang)
  file(WRITE ${WORK_DIR}/dangling.cpp "#include <lorasb/core/view.hpp>
float f() { lorasb::ConstMatrixView<float> v = lorasb::Matrix<float>(3, 3); return v(0, 0); }\n")
  fails("temporary" ${clang} ${flags} -Werror=dangling -fsyntax-only ${WORK_DIR}/dangling.cpp)
endif()
