# Builds and runs the user's project in an empty folder: against an installed copy, as a subdirectory, or as a subdirectory of a
# project that brings Eigen and nlohmann-json as targets of its own and exports a library that links lorasb.
#   cmake -DWAY=find_package|add_subdirectory|super_project -DSOURCE_DIR=... -DBUILD_DIR=... -DWORK_DIR=... -DCXX=... -DGENERATOR=...
#         -DEIGEN=... -P user_project.cmake
include(${CMAKE_CURRENT_LIST_DIR}/run.cmake)

file(REMOVE_RECURSE ${WORK_DIR})
if(WAY STREQUAL "super_project")
  run(${CMAKE_COMMAND} -G ${GENERATOR} -S ${SOURCE_DIR}/tests/build/super -B ${WORK_DIR}/build -DCMAKE_CXX_COMPILER=${CXX}
      -DLORASB_SOURCE_DIR=${SOURCE_DIR} -DEIGEN=${EIGEN} -DCMAKE_DISABLE_FIND_PACKAGE_Eigen3=ON)
  run(${CMAKE_COMMAND} --build ${WORK_DIR}/build)
  run(${CMAKE_COMMAND} --install ${WORK_DIR}/build --prefix ${WORK_DIR}/installed)
  return()
endif()
if(WAY STREQUAL "find_package")
  run(${CMAKE_COMMAND} --install ${BUILD_DIR} --prefix ${WORK_DIR}/installed)
  set(how -DCMAKE_PREFIX_PATH=${WORK_DIR}/installed)
else()
  set(how -DLORASB_SOURCE_DIR=${SOURCE_DIR})
endif()
run(${CMAKE_COMMAND} -G ${GENERATOR} -S ${SOURCE_DIR}/tests/build/user -B ${WORK_DIR}/build -DCMAKE_CXX_COMPILER=${CXX} ${how})
run(${CMAKE_COMMAND} --build ${WORK_DIR}/build)
run(${WORK_DIR}/build/user ${WORK_DIR}/adapter)
