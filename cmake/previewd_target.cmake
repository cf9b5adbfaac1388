# What every target of ours shares: language level, warnings, sanitizers, and the include root.
#
# build/include/previewd/<folder> is a link to each folder, so that "previewd/messages/registry.hpp" is the one spelling in
# the sources, in a parent project and in an installed tree.
set(PREVIEWD_INCLUDE_ROOT "${PROJECT_BINARY_DIR}/include")
file(MAKE_DIRECTORY "${PREVIEWD_INCLUDE_ROOT}/previewd")
foreach(folder messages os support actors net store service web tests)
  file(CREATE_LINK "${PROJECT_SOURCE_DIR}/${folder}" "${PREVIEWD_INCLUDE_ROOT}/previewd/${folder}" SYMBOLIC)
endforeach()

add_library(previewd_options INTERFACE)
target_compile_features(previewd_options INTERFACE cxx_std_20)
target_compile_options(previewd_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wold-style-cast -Wnon-virtual-dtor -Woverloaded-virtual
  $<$<BOOL:${PREVIEWD_WARNINGS_AS_ERRORS}>:-Werror>
  # g++ 12 sees dangling and uninitialised values in inlined std and Asio code that is right.
  $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized -Wno-dangling-pointer -Wno-restrict -Wno-array-bounds -Wno-stringop-overflow>
  # CAF's inspectors are found by their first parameter's type only.
  $<$<CXX_COMPILER_ID:Clang>:-Wno-gnu-zero-variadic-macro-arguments>)
target_compile_definitions(previewd_options INTERFACE
  BOOST_ASIO_SEPARATE_COMPILATION BOOST_BEAST_SEPARATE_COMPILATION BOOST_ASIO_NO_DEPRECATED
  BOOST_ERROR_CODE_HEADER_ONLY)
if(PREVIEWD_SANITIZER STREQUAL "address")
  # null: CAF binds a reference to an empty tuple for actors without arguments.
  target_compile_options(previewd_options INTERFACE -fsanitize=address,undefined -fno-sanitize=null,vptr
    -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  target_link_options(previewd_options INTERFACE -fsanitize=address,undefined)
elseif(PREVIEWD_SANITIZER STREQUAL "thread")
  target_compile_options(previewd_options INTERFACE -fsanitize=thread -fno-omit-frame-pointer -Wno-tsan)
  target_link_options(previewd_options INTERFACE -fsanitize=thread)
elseif(PREVIEWD_SANITIZER STREQUAL "fuzzer")
  # Everything is watched for what it covers; libFuzzer's main is linked by the fuzzers alone (tests/fuzz). -O1, since a
  # fuzzer finds by trying much.
  target_compile_options(previewd_options INTERFACE -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize=null,vptr
    -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  target_link_options(previewd_options INTERFACE -fsanitize=address,undefined)
elseif(PREVIEWD_SANITIZER)
  message(FATAL_ERROR "PREVIEWD_SANITIZER must be empty, address, thread or fuzzer, not ${PREVIEWD_SANITIZER}")
endif()
target_compile_options(previewd_options INTERFACE $<$<CONFIG:Debug>:-g1>)

# One precompiled header for the libraries that are made of Asio and of messages to actors (docs/decisions/0005-one-precompiled-header.md).
if(PREVIEWD_PCH)
  add_library(previewd_precompiled OBJECT "${PROJECT_SOURCE_DIR}/cmake/precompiled.cpp")
  target_link_libraries(previewd_precompiled PRIVATE previewd_options Boost::headers CAF::core)
  set_target_properties(previewd_precompiled PROPERTIES POSITION_INDEPENDENT_CODE ON)
  target_precompile_headers(previewd_precompiled PRIVATE "${PROJECT_SOURCE_DIR}/cmake/precompiled.hpp")
  # ccache needs to see what the header was made of.
  target_compile_options(previewd_options INTERFACE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
endif()

# previewd_library(NAME [PRECOMPILED] SOURCES ... PUBLIC ... PRIVATE ...): the static library previewd_NAME with alias
# previewd::NAME.
function(previewd_library name)
  cmake_parse_arguments(arg "PRECOMPILED" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(previewd_${name} STATIC ${arg_SOURCES})
  add_library(previewd::${name} ALIAS previewd_${name})
  target_include_directories(previewd_${name} PUBLIC
    $<BUILD_INTERFACE:${PREVIEWD_INCLUDE_ROOT}> $<INSTALL_INTERFACE:include>)
  target_link_libraries(previewd_${name} PUBLIC ${arg_PUBLIC} PRIVATE $<BUILD_INTERFACE:previewd_options> ${arg_PRIVATE})
  target_compile_features(previewd_${name} PUBLIC cxx_std_20)
  set_target_properties(previewd_${name} PROPERTIES EXPORT_NAME ${name} POSITION_INDEPENDENT_CODE ON)
  if(PREVIEWD_PCH AND arg_PRECOMPILED)
    target_precompile_headers(previewd_${name} REUSE_FROM previewd_precompiled)
  endif()
endfunction()
