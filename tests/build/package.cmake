# The installed package: its components have their own dependencies, a wrong component is named, Make finds the headers by
# pkg-config, and the version is one.
#   cmake -DSOURCE_DIR=... -DBUILD_DIR=... -DWORK_DIR=... -DCXX=... -DGENERATOR=... -DEIGEN=... -P package.cmake
include(${CMAKE_CURRENT_LIST_DIR}/run.cmake)

file(REMOVE_RECURSE ${WORK_DIR})
run(${CMAKE_COMMAND} --install ${BUILD_DIR} --prefix ${WORK_DIR}/installed)
# configure(NAME <lines of a CMakeLists.txt>): as a command in `configure`
function(project name lines)
  file(WRITE ${WORK_DIR}/${name}/main.cpp "#include <lorasb/lorasb.hpp>\nint main() { return lorasb::Index(0) != 0; }\n")
  file(WRITE ${WORK_DIR}/${name}/CMakeLists.txt "cmake_minimum_required(VERSION 3.25)\nproject(${name} LANGUAGES CXX)\n${lines}\n")
  set(configure ${CMAKE_COMMAND} -G ${GENERATOR} -S ${WORK_DIR}/${name} -B ${WORK_DIR}/${name}/build -DCMAKE_CXX_COMPILER=${CXX}
                -DCMAKE_PREFIX_PATH=${WORK_DIR}/installed PARENT_SCOPE)
endfunction()

# the core needs no nlohmann-json
project(core "find_package(lorasb 0.1 REQUIRED COMPONENTS core OPTIONAL_COMPONENTS io)
if(lorasb_io_FOUND OR NOT DEFINED lorasb_io_FOUND)
  message(FATAL_ERROR \"io is found without nlohmann-json\")
endif()
add_executable(core main.cpp)
target_link_libraries(core PRIVATE lorasb::lorasb)")
run(${configure} -DCMAKE_DISABLE_FIND_PACKAGE_nlohmann_json=ON)
run(${CMAKE_COMMAND} --build ${WORK_DIR}/core/build)

project(none "find_package(lorasb REQUIRED)")
run(${configure} -DCMAKE_DISABLE_FIND_PACKAGE_nlohmann_json=ON)
project(io "find_package(lorasb REQUIRED COMPONENTS io)")
fails("its component \"io\" needs nlohmann-json" ${configure} -DCMAKE_DISABLE_FIND_PACKAGE_nlohmann_json=ON)
run(${configure})
project(typo "find_package(lorasb REQUIRED COMPONENTS tokenizer)")
fails("there is no component[ \n]+\"tokenizer\"" ${configure})

find_program(pkg_config pkg-config)
if(pkg_config)
  execute_process(COMMAND ${CMAKE_COMMAND} -E env PKG_CONFIG_PATH=${WORK_DIR}/installed/share/pkgconfig ${pkg_config} --cflags lorasb
                  OUTPUT_VARIABLE flags RESULT_VARIABLE status OUTPUT_STRIP_TRAILING_WHITESPACE)
  separate_arguments(flags)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "pkg-config does not know lorasb")
  endif()
  run(${CXX} -std=c++20 ${flags} -fsyntax-only ${WORK_DIR}/core/main.cpp)
endif()

file(STRINGS ${SOURCE_DIR}/include/lorasb/version.hpp version REGEX "LORASB_VERSION \"")
file(STRINGS ${SOURCE_DIR}/CMakeLists.txt project_line REGEX "^project\\(lorasb")
string(REGEX MATCH "[0-9.]+" header "${version}")
if(NOT project_line MATCHES "VERSION ${header} ")
  message(FATAL_ERROR "version.hpp says ${header}, CMakeLists.txt says ${project_line}")
endif()
if(NOT EXISTS ${WORK_DIR}/installed/share/licenses/lorasb/LICENSE)
  message(FATAL_ERROR "the licence is not installed")
endif()
