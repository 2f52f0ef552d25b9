# run(COMMAND ...): stops with the command's output when it fails. fails(WORDS COMMAND ...): stops unless it fails with these words.
cmake_minimum_required(VERSION 3.25)

function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${ARGV}\nexited with ${status}:\n${output}")
  endif()
endfunction()

function(fails words)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(status EQUAL 0 OR NOT output MATCHES "${words}")
    message(FATAL_ERROR "${ARGN}\nexited with ${status}, expected a failure with \"${words}\":\n${output}")
  endif()
endfunction()
