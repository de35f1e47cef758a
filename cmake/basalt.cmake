# How every target of the project is compiled, and the three functions that declare one.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(Boost 1.83 REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(GTest REQUIRED)
find_package(spdlog REQUIRED)
find_package(fmt REQUIRED)
find_package(CLI11 REQUIRED)
find_package(pugixml REQUIRED)
find_package(SQLite3 REQUIRED)
include(GoogleTest)

add_library(basalt_flags INTERFACE)
target_compile_features(basalt_flags INTERFACE cxx_std_23)
target_compile_options(basalt_flags INTERFACE -Wall -Wextra -Wshadow -Wconversion -Werror -pipe
  # Designated initialisers leave members at their defaults on purpose.
  -Wno-missing-field-initializers
  # g++ 14 takes Asio's frame allocator for a mismatch at -O1 and above.
  -Wno-mismatched-new-delete
  # The parsed headers fill g++'s heap from the start, so that it looks for garbage all the time: let it
  # take a gigabyte first.
  $<$<CXX_COMPILER_ID:GNU>:--param=ggc-min-heapsize=1048576>)
target_compile_definitions(basalt_flags INTERFACE
  BOOST_ASIO_NO_DEPRECATED BOOST_ASIO_DISABLE_VISIBILITY SPDLOG_FMT_EXTERNAL JSON_USE_IMPLICIT_CONVERSIONS=0)
target_include_directories(basalt_flags INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR}/generated)
target_link_options(basalt_flags INTERFACE -fuse-ld=mold)
target_link_libraries(basalt_flags INTERFACE Threads::Threads)
# A program with the property UNSANITIZED is left alone: a sanitizer's runtime cannot be static.
set(sanitized "$<NOT:$<BOOL:$<TARGET_PROPERTY:UNSANITIZED>>>")
if(BASALT_SANITIZE)
  target_compile_options(basalt_flags INTERFACE
    "$<${sanitized}:-fsanitize=address,undefined;-fno-omit-frame-pointer>")
  target_link_options(basalt_flags INTERFACE "$<${sanitized}:-fsanitize=address,undefined>")
endif()
if(BASALT_FUZZ)
  # Coverage for libFuzzer; each fuzzer's own link brings its main. g++ decides about warnings.
  target_compile_options(basalt_flags INTERFACE -fsanitize=fuzzer-no-link -fno-sanitize-recover=all
    -Wno-error -Wno-unknown-warning-option)
endif()
if(BASALT_TSAN)
  target_compile_options(basalt_flags INTERFACE "$<${sanitized}:-fsanitize=thread>")
  target_link_options(basalt_flags INTERFACE "$<${sanitized}:-fsanitize=thread>")
endif()

# The system headers that nearly every unit with a coroutine reads, parsed once. Only headers that are
# not ours: the compiler cache then finds it again in every work tree. What templates such a header leaves
# to be made, every unit makes anew: it must be worth it to most.
set(precompiled_headers
  <algorithm> <chrono> <coroutine> <expected> <filesystem> <format> <functional> <map> <memory> <optional> <set>
  <span> <string> <unordered_map> <variant> <vector>
  <boost/asio/any_io_executor.hpp> <boost/asio/awaitable.hpp> <boost/asio/execution.hpp>
  <boost/asio/execution_context.hpp> <boost/asio/this_coro.hpp>)
# Half a second of templates: only for targets that say JSON.
set(precompiled_json <nlohmann/json.hpp>)
set(precompiled_test <gmock/gmock.h> <gtest/gtest.h>)
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/precompiled.cpp CONTENT "")

# Code is optimised where calls and records pass by the thousand a second (base, idl, and of xapi the core,
# the store and the wire). Units that decide, or wait for machines, disks and switches, are compiled with less
# care, in a quarter less time; a test's own units, which are compiled often and run once, with none. Parsed
# headers must have the same options as the units that take them, so there is a set for each.
set(basalt_waiting_options -O1)
set(basalt_test_options -O0)

# basalt_precompile(name kind HEADERS ...): the library whose parsed headers a target takes.
function(basalt_precompile name kind)
  add_library(${name} STATIC EXCLUDE_FROM_ALL ${CMAKE_BINARY_DIR}/precompiled.cpp)
  target_link_libraries(${name} PUBLIC basalt_flags Boost::headers $<$<STREQUAL:${kind},test>:GTest::gmock>)
  target_compile_options(${name} PRIVATE ${basalt_${kind}_options})
  target_precompile_headers(${name} PRIVATE ${precompiled_headers} ${ARGN})
endfunction()
basalt_precompile(basalt_precompiled "")
basalt_precompile(basalt_precompiled_waiting waiting)
basalt_precompile(basalt_precompiled_waiting_json waiting ${precompiled_json})
basalt_precompile(basalt_precompiled_test test ${precompiled_test})
basalt_precompile(basalt_precompiled_test_json test ${precompiled_test} ${precompiled_json})

# basalt_compile(name kind [LIGHT | JSON]). KIND is empty, `waiting` or `test`; a folder says
# `set(basalt_kind waiting)` for what is declared in it. LIGHT targets have no coroutine: reading all those
# headers would cost them more than it saves. Most units of JSON targets read nlohmann/json.hpp.
function(basalt_compile name kind)
  cmake_parse_arguments(arg "LIGHT;JSON" "" "" ${ARGN})
  set(precompiled basalt_precompiled)
  if(kind)
    string(APPEND precompiled _${kind})
    target_compile_options(${name} PRIVATE ${basalt_${kind}_options})
    if(arg_JSON)
      string(APPEND precompiled _json)
    endif()
  endif()
  if(NOT arg_LIGHT)
    target_precompile_headers(${name} REUSE_FROM ${precompiled})
  endif()
endfunction()

# Built is what ships, and what that needs; `tests` and `benches` are targets beside it.
add_custom_target(tests)
add_custom_target(benches)

# basalt_library(name [LIGHT | JSON] SOURCES ... [LINK ...] [PRIVATE_LINK ...])
function(basalt_library name)
  cmake_parse_arguments(arg "LIGHT;JSON" "" "SOURCES;LINK;PRIVATE_LINK" ${ARGN})
  add_library(${name} STATIC EXCLUDE_FROM_ALL ${arg_SOURCES})
  target_link_libraries(${name} PUBLIC basalt_flags ${arg_LINK} PRIVATE ${arg_PRIVATE_LINK})
  basalt_compile(${name} "${basalt_kind}" ${ARGN})
endfunction()

# basalt_program(name [LIGHT | JSON] SOURCES ... LINK ...)
function(basalt_program name)
  cmake_parse_arguments(arg "LIGHT;JSON" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE basalt_flags ${arg_LINK})
  basalt_compile(${name} "${basalt_kind}" ${ARGN})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
endfunction()

# basalt_test(name [LIGHT | JSON] LABEL unit SOURCES ... LINK ... [TIMEOUT seconds]): one ctest entry a program.
function(basalt_test name)
  cmake_parse_arguments(arg "LIGHT;JSON" "LABEL;TIMEOUT" "SOURCES;LINK" ${ARGN})
  add_executable(${name} EXCLUDE_FROM_ALL ${arg_SOURCES})
  add_dependencies(tests ${name})
  target_link_libraries(${name} PRIVATE basalt_flags ${arg_LINK} GTest::gmock GTest::gtest_main)
  basalt_compile(${name} test ${ARGN})
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 60)
  endif()
  set_tests_properties(${name} PROPERTIES LABELS ${arg_LABEL} TIMEOUT ${arg_TIMEOUT})
endfunction()
