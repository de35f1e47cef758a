# What ties the rooms together waits for them.
set(basalt_kind waiting)
basalt_library(coordinator SOURCES coordinator.cpp LINK core domain db)
basalt_program(xapi SOURCES main.cpp coordinator_daemon.cpp member_daemon.cpp config.cpp role_file.cpp in_process_api.cpp store_tool.cpp
  LINK coordinator cli transfer pool member rpc_dispatch rpc_server db_store_sqlite CLI11::CLI11)
