# cmake -DFOLDER=dist -DOUTPUT=embedded.cpp -P embed.cmake: writes a source file that holds every file of FOLDER.
#
# The bytes come in by .incbin: a megabyte as a C++ array costs a compiler seconds. Their hash stands in the source, so that it
# changes, and is compiled anew, exactly when a file does.
cmake_minimum_required(VERSION 3.25)

# A page asks for nothing that is not its own, except the preview it frames, which may be anywhere.
string(CONCAT page_policy "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
  "connect-src 'self' ws: wss:; frame-src http: https:; object-src 'none'; base-uri 'none'; form-action 'self'")
# The service's own pages bring no code but their own files, and turn no text into code or markup. Styles are the exception:
# xterm.js makes the ones for its rows as it goes.
string(CONCAT own_policy "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
  "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'; "
  "require-trusted-types-for 'script'; trusted-types 'none'")
string(CONCAT loading_policy "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "
  "connect-src 'self'; base-uri 'none'; form-action 'none'")
set(type_md "text/plain; charset=utf-8")
set(type_html "text/html; charset=utf-8")
set(type_js "text/javascript; charset=utf-8")
set(type_css "text/css; charset=utf-8")
set(type_json "application/json")
set(type_svg "image/svg+xml")
set(type_png "image/png")
set(type_woff2 "font/woff2")

file(GLOB_RECURSE files RELATIVE "${FOLDER}" "${FOLDER}/*")
list(SORT files)  # bytewise, as find_asset searches
set(symbols "")
set(declarations "")
set(entries "")
set(number 0)
foreach(file IN LISTS files)
  get_filename_component(extension "${file}" LAST_EXT)
  string(SUBSTRING "${extension}" 1 -1 extension)
  if(NOT DEFINED type_${extension})
    message(FATAL_ERROR "embed.cmake knows no content type for ${file}")
  endif()
  file(SHA256 "${FOLDER}/${file}" hash)
  string(SUBSTRING "${hash}" 0 24 tag)
  file(SIZE "${FOLDER}/${file}" size)
  set(policy "")
  if(file STREQUAL "loading.html")
    set(policy "${loading_policy}")
  elseif(extension STREQUAL "html")
    set(policy "${page_policy}")
  endif()
  if(file MATCHES "^(index|terminal|dashboard)\\.html$")
    set(policy "${own_policy}")  # a frame around a terminal could be anybody's
  endif()
  if(file STREQUAL "terminal.html")
    string(APPEND policy "; frame-src 'self'")  # the iframe page, which frames the preview wherever that is
  endif()
  if(file MATCHES "^assets/.*-[A-Za-z0-9_-][A-Za-z0-9_-][A-Za-z0-9_-][A-Za-z0-9_-][A-Za-z0-9_-][A-Za-z0-9_-][A-Za-z0-9_-][A-Za-z0-9_-]\\.[a-z0-9]+$")
    set(cache "public, max-age=31536000, immutable")
  elseif(file STREQUAL "loading.html")
    set(cache "no-store")
  else()
    set(cache "no-cache")
  endif()

  set(symbol "previewd_web_asset_${number}")
  string(APPEND symbols "asm(\".pushsection .rodata\\n.balign 16\\n.globl ${symbol}\\n.hidden ${symbol}\\n${symbol}:\\n\"\n"
    "    \".incbin \\\"${FOLDER}/${file}\\\"\\n.byte 0\\n.popsection\\n\");  // ${hash}\n")
  string(APPEND declarations "extern \"C\" const char ${symbol}[];\n")
  string(APPEND entries "  {\"${file}\", \"${type_${extension}}\", \"${cache}\", \"\\\"${tag}\\\"\",\n    \"${policy}\",\n"
    "    std::string_view{${symbol}, ${size}}},\n")
  math(EXPR number "${number} + 1")
endforeach()
if(number EQUAL 0)
  message(FATAL_ERROR "There are no pages in ${FOLDER}")
endif()

file(CONFIGURE OUTPUT "${OUTPUT}" @ONLY CONTENT [[// Written by web/embed.cmake.
#include "previewd/web/assets.hpp"

@symbols@
@declarations@
namespace previewd::web {
namespace {

const asset all[] = {
@entries@};

}  // namespace

std::span<const asset> assets() noexcept { return all; }

}  // namespace previewd::web
]])
