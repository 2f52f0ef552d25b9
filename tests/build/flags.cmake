# Two files that hand lorasb's types to each other link where their flags agree, and do not where Eigen aligns memory in two ways.
# A compiler that lorasb cannot work with hears so in one sentence, and NaN is seen where -ffast-math says that there is none.
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

file(WRITE ${WORK_DIR}/any.cpp "#include <lorasb/lorasb.hpp>\n")
file(WRITE ${WORK_DIR}/digest.cpp "#include <lorasb/core/digest.hpp>\n")  # a header that needs no other
find_program(clang clang++)
set(compilers ${CXX} ${clang})
list(REMOVE_DUPLICATES compilers)
foreach(compiler IN LISTS compilers)
  foreach(file any digest)
    set(includes -fsyntax-only -I ${SOURCE_DIR}/include -I ${EIGEN} ${WORK_DIR}/${file}.cpp)
    fails("error: [^\n]*lorasb needs C..20: compile with" ${compiler} -std=c++17 ${includes})
    fails("error: [^\n]*lorasb needs exceptions" ${compiler} -std=c++20 -fno-exceptions ${includes})
  endforeach()
  execute_process(COMMAND ${compiler} -std=c++17 -fsyntax-only -I ${SOURCE_DIR}/include -I ${EIGEN} ${WORK_DIR}/any.cpp ERROR_VARIABLE output)
  string(REGEX MATCHALL "error:" errors "${output}")
  list(LENGTH errors count)
  if(count GREATER 2)
    message(FATAL_ERROR "${compiler} with -std=c++17 says ${count} errors, expected the sentence and an end:\n${output}")
  endif()
endforeach()

# all_headers.cmake does this for g++ with more
if(clang)
  file(WRITE ${WORK_DIR}/nan.cpp "#include <lorasb/optim/sgd.hpp>
#include <lorasb/train/step.hpp>
using namespace lorasb;
int main() {
  volatile float hidden = std::numeric_limits<float>::quiet_NaN();  // a constant would be assumed away before lorasb sees it
  const float nan = hidden;
  std::vector<float> values{1, 2};
  optim::Sgd<float> sgd(2);
  train::Step<float> step(2, 1, 1);
  const auto found = [&](double loss, float gradient) {
    return step.run(1, [&](Index, Index, Index, std::span<float> g) { g[0] += gradient; return train::PassResult{.loss = loss, .correct = 0}; },
                    values, sgd, 0.5).status;
  };
  bool good = found(1, nan) == train::StepStatus::not_finite && found(double(nan), 1) == train::StepStatus::not_finite && values[0] == 1;
  good = good && found(1, 1) == train::StepStatus::updated && values[0] == 0.5f;
  return good ? 0 : 1;
}\n")
  run(${clang} ${flags} -O3 -ffast-math ${WORK_DIR}/nan.cpp -o ${WORK_DIR}/nan -pthread)
  run(${WORK_DIR}/nan)
endif()

# clang warns where a view outlives a temporary, and is silent about blocks, which own nothing
if(clang)
  file(WRITE ${WORK_DIR}/dangling.cpp "#include <lorasb/core/view.hpp>
float f() { lorasb::ConstMatrixView<float> v = lorasb::Matrix<float>(3, 3); return v(0, 0); }\n")
  fails("temporary" ${clang} ${flags} -Werror=dangling -fsyntax-only ${WORK_DIR}/dangling.cpp)
  file(WRITE ${WORK_DIR}/block.cpp "#include <lorasb/core/frozen_weight.hpp>
float f(const lorasb::Matrix<float>& m) { const lorasb::ConstMatrixView<float> v = m.leftCols(2); return v(0, 0); }
long g(const lorasb::Weight<float>& W) { const lorasb::FrozenWeight<float> F = W.topRows(2); return F.rows(); }\n")
  run(${clang} ${flags} -Wall -Wextra -Werror -fsyntax-only ${WORK_DIR}/block.cpp)
endif()
