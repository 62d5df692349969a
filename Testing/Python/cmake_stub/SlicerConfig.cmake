# What an extension's CMakeLists.txt sees of Slicer, as far as XRecon uses it: `find_package(Slicer)`
# sets the variables below, and including Slicer_USE_FILE defines the macros. Written from the
# documented behaviour of the macros; files are copied at configure time instead of build time.
set(Slicer_FOUND TRUE)
set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/GenerateConfig.cmake")
set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/ExtensionCPack.cmake")
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR "lib/Slicer-5.12/qt-scripted-modules")
set(BUILD_TESTING ON)
