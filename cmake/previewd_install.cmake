# What an embedding application gets: the libraries, the headers under include/previewd/, and a package file.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(libraries previewd_asio previewd_messages previewd_support previewd_os previewd_actors previewd_web previewd_net_base previewd_net_auth previewd_net_tls previewd_net_trust
  previewd_net_http previewd_net_ws previewd_net_socketio previewd_net_socketio_app previewd_net_attach previewd_net_terminal previewd_net_kernel
  previewd_net_api previewd_net_data_plane previewd_store previewd_settings_check previewd_service previewd)
install(TARGETS ${libraries} EXPORT previewd ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS previewd_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
# Where systemd looks for units (systemd.unit(5)), whatever the machine's folder for libraries.
configure_file(${PROJECT_SOURCE_DIR}/service/systemd/previewd.service.in ${PROJECT_BINARY_DIR}/previewd.service @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/previewd.service ${PROJECT_SOURCE_DIR}/service/systemd/previewd.socket
  DESTINATION lib/systemd/system)
foreach(folder messages os support actors net store service web)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${folder}/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/previewd/${folder}
    FILES_MATCHING PATTERN "*.hpp" PATTERN node_modules EXCLUDE)
endforeach()
set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/previewd)
install(EXPORT previewd NAMESPACE previewd:: FILE previewdTargets.cmake DESTINATION ${package_folder})
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/previewdConfig.cmake.in
  ${PROJECT_BINARY_DIR}/previewdConfig.cmake INSTALL_DESTINATION ${package_folder})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/previewdConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/previewdConfig.cmake ${PROJECT_BINARY_DIR}/previewdConfigVersion.cmake
  ${PROJECT_SOURCE_DIR}/cmake/FindCAF.cmake ${PROJECT_SOURCE_DIR}/cmake/FindPrometheusCore.cmake
  ${PROJECT_SOURCE_DIR}/cmake/FindVTerm.cmake
  DESTINATION ${package_folder})
