# One file that includes every header, but those of mpi/ and onednn/, and uses the main ones, compiles without a warning.
#   cmake -DSOURCE_DIR=... -DWORK_DIR=... -DEIGEN=... "-DCOMPILER=g++ -O2" -P all_headers.cmake
include(${CMAKE_CURRENT_LIST_DIR}/run.cmake)

file(REMOVE_RECURSE ${WORK_DIR})
separate_arguments(COMPILER)
file(GLOB_RECURSE headers RELATIVE ${SOURCE_DIR}/include ${SOURCE_DIR}/include/lorasb/*.hpp)
set(text)
foreach(header IN LISTS headers)
  if(NOT header MATCHES "lorasb/(mpi|onednn)/")
    string(APPEND text "#include \"${header}\"\n")
  endif()
endforeach()
file(READ ${SOURCE_DIR}/tests/build/all_headers.cpp uses)
file(WRITE ${WORK_DIR}/all.cpp "${text}${uses}")
set(eigen -I ${EIGEN})
if("-Wconversion" IN_LIST COMPILER)
  set(eigen -isystem ${EIGEN})  # Eigen's own headers set this off by themselves
endif()
run(${COMPILER} -std=c++20 -Wall -Wextra -Werror -I ${SOURCE_DIR}/include ${eigen} ${WORK_DIR}/all.cpp -o ${WORK_DIR}/all
    -lutf8proc -pthread)
run(${WORK_DIR}/all)
