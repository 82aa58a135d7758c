# kedge_library: one library of Kedge, static, shared or both, from the same objects; kedge_install: how it is found.

include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(kedge_kinds static shared)
if(DEFINED BUILD_SHARED_LIBS OR NOT PROJECT_IS_TOP_LEVEL)
  set(kedge_kinds static)
  if(BUILD_SHARED_LIBS)
    set(kedge_kinds shared)
  endif()
endif()
set(kedge_kind_of_choice static)
if("shared" IN_LIST kedge_kinds)
  set(kedge_kind_of_choice shared)
endif()

# An include path is "kedge/" and the path in the tree. The tree itself must not be searched: <mach/message.h> would be
# mach/message.h of the library, which is another file.
set(kedge_include ${PROJECT_BINARY_DIR}/include)
file(MAKE_DIRECTORY ${kedge_include})
if(NOT EXISTS ${kedge_include}/kedge)
  file(CREATE_LINK ${PROJECT_SOURCE_DIR} ${kedge_include}/kedge SYMBOLIC)
endif()

# The C++ library by name, for programs in C that are linked against static libraries.
set(kedge_cxx_library ${CMAKE_CXX_IMPLICIT_LINK_LIBRARIES})
list(FILTER kedge_cxx_library INCLUDE REGEX "^(stdc\\+\\+|c\\+\\+)$")
list(REMOVE_DUPLICATES kedge_cxx_library)

# Installs headers, named by patterns from the top, under their paths.
function(kedge_install_headers)
  foreach(pattern IN LISTS ARGN)
    file(GLOB headers CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/${pattern})
    foreach(header IN LISTS headers)
      cmake_path(GET header PARENT_PATH folder)
      install(FILES ${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/kedge/${folder})
    endforeach()
  endforeach()
endfunction()

# Where what depends on a library finds its headers.
function(kedge_usage target)
  target_include_directories(${target} SYSTEM INTERFACE
    $<BUILD_INTERFACE:${kedge_include}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  foreach(folder IN LISTS ARGN)
    target_include_directories(${target} SYSTEM INTERFACE
      $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/${folder}>
      $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/kedge/${folder}>)
  endforeach()
endfunction()

# kedge_library(NAME FILE name FOLDERS folder... HEADERS pattern... [SYSTEM_INCLUDES folder...] [DEPENDS NAME...]
#               [COMPILE_FEATURES feature...] [ONE_OBJECT] SUMMARY text)
#
# Makes kedge::NAME-static and kedge::NAME-shared, as kedge_kinds says, and kedge::NAME, which is one of them.
#
# ONE_OBJECT: the archive has one member, which all objects were linked into. A program that calls any function of it gets
# all of it: also the functions that the C library defines too (close, sigaction), and the static constructors. An
# archive of many members would have to be linked with --whole-archive, and would lose them silently without.
function(kedge_library name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "ONE_OBJECT" "FILE;SUMMARY"
    "FOLDERS;HEADERS;SYSTEM_INCLUDES;DEPENDS;COMPILE_FEATURES")
  set(objects kedge-${name}-objects)
  list(TRANSFORM arg_FOLDERS REPLACE "(.+)" "${PROJECT_SOURCE_DIR}/\\1/*.cc" OUTPUT_VARIABLE patterns)
  file(GLOB sources CONFIGURE_DEPENDS ${patterns})
  add_library(${objects} OBJECT ${sources})
  target_compile_features(${objects} PRIVATE cxx_std_20)
  # A project that adds this one may have set other defaults. A hidden close() would not replace the C library's. Two files
  # of a folder use the same names, so a unity build fails.
  set_target_properties(${objects} PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_EXTENSIONS OFF
    CXX_VISIBILITY_PRESET default VISIBILITY_INLINES_HIDDEN OFF UNITY_BUILD OFF)
  target_include_directories(${objects} PRIVATE ${kedge_include})
  # Calls within a shared library are not left to other libraries to replace, so that they can be inlined.
  target_compile_options(${objects} PRIVATE $<$<NOT:$<PLATFORM_ID:Darwin>>:-fno-semantic-interposition>)
  if(arg_ONE_OBJECT)
    # A handler of a signal reads thread-local variables: it must not be the one that allocates them.
    target_compile_options(${objects} PRIVATE -ftls-model=initial-exec)
    # The one object is linked from machine code.
    target_compile_options(${objects} PRIVATE -fno-lto)
  endif()
  foreach(dependency IN LISTS arg_DEPENDS)
    target_link_libraries(${objects} PRIVATE kedge-${dependency}-headers)
  endforeach()

  add_library(kedge-${name}-headers INTERFACE)
  kedge_usage(kedge-${name}-headers ${arg_SYSTEM_INCLUDES})
  target_link_libraries(${objects} PRIVATE kedge-${name}-headers)

  foreach(kind IN LISTS kedge_kinds)
    kedge_library_of_kind(${name} ${kind})
  endforeach()
  add_library(kedge::${name} ALIAS kedge-${name}-${kedge_kind_of_choice})

  set(installed ${arg_HEADERS})
  foreach(folder IN LISTS arg_SYSTEM_INCLUDES)
    list(APPEND installed ${folder}/*.h ${folder}/*/*.h)
  endforeach()
  kedge_install_headers(${installed})
  kedge_install_pkg_config(${name})
endfunction()

# Called by kedge_library, whose arguments it reads.
macro(kedge_library_of_kind name kind)
  set(target kedge-${name}-${kind})
  if(${kind} STREQUAL shared)
    add_library(${target} SHARED $<TARGET_OBJECTS:${objects}>)
    # While the first number is 0, the second one counts.
    set_target_properties(${target} PROPERTIES VERSION ${PROJECT_VERSION}
      SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
    if(CMAKE_SYSTEM_NAME STREQUAL Linux)
      set_target_properties(${target} PROPERTIES INSTALL_RPATH $ORIGIN)
      # A program's own list must name the library, ahead of the C library, for its close() to be the one in effect. With
      # --as-needed a linker would leave it out of a program that calls none of its functions directly.
      target_link_options(${target} INTERFACE
        "-Wl,--push-state,--no-as-needed,$<TARGET_LINKER_FILE:$<TARGET_NAME:${target}>>,--pop-state")
      target_link_options(${target} PRIVATE LINKER:--no-undefined)
    endif()
  elseif(arg_ONE_OBJECT)
    separate_arguments(flags NATIVE_COMMAND "${CMAKE_CXX_FLAGS}")
    set(one_object ${PROJECT_BINARY_DIR}/one-object/$<CONFIG>/${arg_FILE}.o)
    add_custom_command(OUTPUT ${one_object}
      COMMAND ${CMAKE_COMMAND} -E make_directory ${PROJECT_BINARY_DIR}/one-object/$<CONFIG>
      COMMAND ${CMAKE_CXX_COMPILER}
        "$<$<BOOL:${CMAKE_CXX_COMPILER_TARGET}>:${CMAKE_CXX_COMPILE_OPTIONS_TARGET}${CMAKE_CXX_COMPILER_TARGET}>"
        ${flags} -fno-lto -nostdlib -r -o ${one_object} $<TARGET_OBJECTS:${objects}>
      DEPENDS $<TARGET_OBJECTS:${objects}>
      COMMAND_EXPAND_LISTS VERBATIM)
    add_library(${target} STATIC ${one_object})
    add_dependencies(${target} ${objects})
    set_target_properties(${target} PROPERTIES LINKER_LANGUAGE CXX)
    set_source_files_properties(${one_object} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
  else()
    add_library(${target} STATIC $<TARGET_OBJECTS:${objects}>)
  endif()
  add_library(kedge::${name}-${kind} ALIAS ${target})
  set_target_properties(${target} PROPERTIES OUTPUT_NAME ${arg_FILE} DEBUG_POSTFIX "" EXPORT_NAME ${name}-${kind})
  if(arg_COMPILE_FEATURES)
    target_compile_features(${target} INTERFACE ${arg_COMPILE_FEATURES})
  endif()
  kedge_usage(${target} ${arg_SYSTEM_INCLUDES})
  foreach(dependency IN LISTS arg_DEPENDS)
    target_link_libraries(${target} PUBLIC kedge-${dependency}-${kind})
  endforeach()
  if(${kind} STREQUAL static)
    target_link_libraries(${target} INTERFACE ${kedge_cxx_library})
  endif()
  install(TARGETS ${target} EXPORT kedge-targets)
endmacro()

# kedge_headers_of_the_system(NAME HEADERS pattern... [DEPENDS NAME...]): what kedge_library makes where the system has the
# library. It consists of Kedge's own headers.
function(kedge_headers_of_the_system name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "HEADERS;DEPENDS")
  add_library(kedge-${name}-headers INTERFACE)
  kedge_usage(kedge-${name}-headers)
  foreach(kind IN LISTS kedge_kinds)
    add_library(kedge-${name}-${kind} INTERFACE)
    add_library(kedge::${name}-${kind} ALIAS kedge-${name}-${kind})
    set_target_properties(kedge-${name}-${kind} PROPERTIES EXPORT_NAME ${name}-${kind})
    kedge_usage(kedge-${name}-${kind})
    foreach(dependency IN LISTS arg_DEPENDS)
      target_link_libraries(kedge-${name}-${kind} INTERFACE kedge-${dependency}-${kind})
    endforeach()
    install(TARGETS kedge-${name}-${kind} EXPORT kedge-targets)
  endforeach()
  add_library(kedge::${name} ALIAS kedge-${name}-${kedge_kind_of_choice})
  kedge_install_headers(${arg_HEADERS})
endfunction()

# Called by kedge_library, whose arguments it reads.
macro(kedge_install_pkg_config name)
  # Relative to the file, so that an installed tree can be moved, unless the project names an absolute folder.
  if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
    set(prefix ${CMAKE_INSTALL_PREFIX})
  else()
    file(RELATIVE_PATH prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
    string(REGEX REPLACE "/$" "" prefix "\${pcfiledir}/${prefix}")
  endif()
  set(libdir ${CMAKE_INSTALL_LIBDIR})
  set(includedir ${CMAKE_INSTALL_INCLUDEDIR})
  foreach(folder libdir includedir)
    if(NOT IS_ABSOLUTE "${${folder}}")
      string(PREPEND ${folder} "\${prefix}/")
    endif()
  endforeach()
  set(cflags "-I\${includedir}")
  foreach(folder IN LISTS arg_SYSTEM_INCLUDES)
    # Without a blank, pkg-config escapes the blanks of a path.
    string(APPEND cflags " -isystem\${includedir}/kedge/${folder}")
  endforeach()
  set(requires "")
  if(CMAKE_SYSTEM_NAME STREQUAL Linux)
    list(TRANSFORM arg_DEPENDS PREPEND kedge- OUTPUT_VARIABLE requires)
    list(JOIN requires " " requires)
  endif()
  if(kedge_kind_of_choice STREQUAL static)
    list(TRANSFORM kedge_cxx_library PREPEND -l OUTPUT_VARIABLE cxx_library)
    list(JOIN cxx_library " " cxx_library)
    set(libs "-l${arg_FILE} ${cxx_library}")
  elseif(CMAKE_SYSTEM_NAME STREQUAL Linux)
    set(libs "-Wl,--push-state,--no-as-needed,-l${arg_FILE},--pop-state")  # as in kedge_library_of_kind
  else()
    set(libs -l${arg_FILE})
  endif()
  configure_file(tools/cmake/library.pc.in ${PROJECT_BINARY_DIR}/${arg_FILE}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${arg_FILE}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endmacro()

# Installs what find_package(kedge) reads.
function(kedge_install)
  set(folder ${CMAKE_INSTALL_LIBDIR}/cmake/kedge)
  install(EXPORT kedge-targets NAMESPACE kedge:: DESTINATION ${folder})
  configure_package_config_file(tools/cmake/kedge-config.cmake.in ${PROJECT_BINARY_DIR}/kedge-config.cmake
    INSTALL_DESTINATION ${folder} NO_SET_AND_CHECK_MACRO)
  write_basic_package_version_file(${PROJECT_BINARY_DIR}/kedge-config-version.cmake COMPATIBILITY SameMinorVersion)
  install(FILES ${PROJECT_BINARY_DIR}/kedge-config.cmake ${PROJECT_BINARY_DIR}/kedge-config-version.cmake
    DESTINATION ${folder})
endfunction()
