/* The commands: one function a command, in a file of its name. Each returns the exit status. */
#pragma once

int cli_build(int argc, char **argv);
int cli_doctor(int argc, char **argv);
int cli_up(int argc, char **argv);
int cli_login(int argc, char **argv);
int cli_deploy(int argc, char **argv);
int cli_apps(int argc, char **argv);
int cli_status(int argc, char **argv);
int cli_logs(int argc, char **argv);
int cli_rollback(int argc, char **argv);
int cli_delete(int argc, char **argv);
int cli_hosts(int argc, char **argv);
int cli_variables(int argc, char **argv);
int cli_tenants(int argc, char **argv);
int cli_calls(int argc, char **argv);
int cli_tokens(int argc, char **argv);
int cli_quota(int argc, char **argv);
int cli_egress(int argc, char **argv);
int cli_audit(int argc, char **argv);
int cli_upgrade(int argc, char **argv);
int cli_top(int argc, char **argv);
int cli_backup(int argc, char **argv);
int cli_restore(int argc, char **argv);
int cli_kv(int argc, char **argv);
int cli_sqlite(int argc, char **argv);
int cli_serve(int argc, char **argv);
int cli_inspect(int argc, char **argv);
