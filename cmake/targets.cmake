# SPDX-License-Identifier: Apache-2.0
# How targets are declared: explicit sources, one set of warnings, one test rule.

set(BALLAST_WARNINGS
  -Wall -Wextra -Werror -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wcast-qual)
set(BALLAST_C_WARNINGS -Wall -Wextra -Werror -Wshadow)

add_library(ballast_flags INTERFACE)
target_include_directories(ballast_flags INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(ballast_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:${BALLAST_WARNINGS}> $<$<COMPILE_LANGUAGE:C>:${BALLAST_C_WARNINGS}>
  -fno-omit-frame-pointer)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(ballast_flags INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-Wthread-safety>)
endif()
if(CMAKE_BUILD_TYPE STREQUAL "Debug")
  target_compile_definitions(ballast_flags INTERFACE _GLIBCXX_ASSERTIONS)
endif()
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  # -O2 with symbols for perf, without NDEBUG being of any meaning here: CHECK stays on always.
  set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1 -DNDEBUG")
  set(CMAKE_C_FLAGS_RELEASE "-O2 -g1 -DNDEBUG")
endif()
if(BALLAST_SANITIZE)
  target_compile_options(ballast_flags INTERFACE
    -fsanitize=${BALLAST_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(ballast_flags INTERFACE -fsanitize=${BALLAST_SANITIZE})
endif()
find_program(BALLAST_LLD NAMES ld.lld ld.lld-14)
if(BALLAST_LLD)
  target_link_options(ballast_flags INTERFACE -fuse-ld=lld)
endif()

# Presets that are built as a whole compile many sources of a target as one: a header is read and a
# template is instantiated once, not once a source. Where people edit and build again, every source
# stays an object of its own.
option(BALLAST_UNITY "Compile the sources of a target together" OFF)
set(BALLAST_UNITY_SOURCES 12)

# ballast_sources(TARGET [SOURCES ...] [ALONE ...])
# ALONE are sources that are never compiled together with others: their unnamed namespace has a name
# that another source of the target has too (tests/tidy says which), or a type that a class in a
# header is made of. The units are our own, not CMake's UNITY_BUILD: those name the clone's folder,
# so that no other clone could have them from the compiler cache.
function(ballast_sources target)
  cmake_parse_arguments(arg "" "" "SOURCES;ALONE" ${ARGN})
  target_sources(${target} PRIVATE ${arg_ALONE})
  set(together ${arg_SOURCES})
  list(FILTER together INCLUDE REGEX "\\.cc$")
  list(LENGTH together count)
  if(NOT BALLAST_UNITY OR count LESS 2)
    target_sources(${target} PRIVATE ${arg_SOURCES})
    return()
  endif()
  list(FILTER arg_SOURCES EXCLUDE REGEX "\\.cc$")
  target_sources(${target} PRIVATE ${arg_SOURCES})
  math(EXPR last "${count} - 1")
  foreach(begin RANGE 0 ${last} ${BALLAST_UNITY_SOURCES})
    list(SUBLIST together ${begin} ${BALLAST_UNITY_SOURCES} sources)
    set(text "")
    foreach(source IN LISTS sources)
      cmake_path(ABSOLUTE_PATH source NORMALIZE)
      cmake_path(RELATIVE_PATH source BASE_DIRECTORY ${CMAKE_SOURCE_DIR})
      string(APPEND text "#include \"${source}\"\n")
    endforeach()
    set(unit ${CMAKE_CURRENT_BINARY_DIR}/${target}_unit_${begin}.cc)
    file(GENERATE OUTPUT ${unit} CONTENT "${text}")
    target_sources(${target} PRIVATE ${unit})
  endforeach()
endfunction()

# ballast_library(NAME SOURCES ... [ALONE ...] [DEPS ...])
# A static library. DEPS are public: a header of NAME may include theirs.
function(ballast_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;ALONE;DEPS" ${ARGN})
  add_library(${name} STATIC)
  ballast_sources(${name} SOURCES ${arg_SOURCES} ALONE ${arg_ALONE})
  target_link_libraries(${name} PUBLIC ballast_flags ${arg_DEPS})
endfunction()

# ballast_binary(NAME SOURCES ... DEPS ...): a program in <build>/bin.
function(ballast_binary name)
  cmake_parse_arguments(arg "" "OUTPUT" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE ballast_flags ${arg_DEPS})
  if(arg_OUTPUT)
    set_target_properties(${name} PROPERTIES OUTPUT_NAME ${arg_OUTPUT})
  endif()
endfunction()

# ballast_test(NAME LABEL <unit|sim|integration> SOURCES ... [ALONE ...] [DEPS ...] [TIMEOUT s])
# One GoogleTest program, one ctest entry, labelled with its ring.
function(ballast_test name)
  cmake_parse_arguments(arg "" "LABEL;TIMEOUT" "SOURCES;ALONE;DEPS" ${ARGN})
  if(NOT arg_LABEL)
    message(FATAL_ERROR "ballast_test(${name}) needs a LABEL")
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  add_executable(${name})
  ballast_sources(${name} SOURCES ${arg_SOURCES} ALONE ${arg_ALONE})
  target_link_libraries(${name} PRIVATE ballast_flags ${arg_DEPS} GTest::gmock GTest::gtest_main)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES LABELS ${arg_LABEL} TIMEOUT ${arg_TIMEOUT})
endfunction()
