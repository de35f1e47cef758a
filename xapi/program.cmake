basalt_library(coordinator SOURCES coordinator.cpp LINK core domain db)
basalt_program(xapi SOURCES main.cpp config.cpp in_process_api.cpp
  LINK coordinator cli transfer rpc_dispatch rpc_server db_store_sqlite CLI11::CLI11)
