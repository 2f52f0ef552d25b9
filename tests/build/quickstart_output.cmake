# The output that the README shows for the quickstart is what the program prints.
#   cmake -DPROGRAM=... -DREADME=... -P quickstart_output.cmake
execute_process(COMMAND ${PROGRAM} OUTPUT_VARIABLE output RESULT_VARIABLE status)
if(NOT status EQUAL 0 OR output STREQUAL "")
  message(FATAL_ERROR "${PROGRAM} exited with ${status} and printed: ${output}")
endif()
file(READ ${README} readme)
string(FIND "${readme}" "${output}" place)
if(place EQUAL -1)
  message(FATAL_ERROR "the README does not show what the quickstart prints:\n${output}")
endif()
