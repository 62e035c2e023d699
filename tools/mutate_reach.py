"""Which integration tests a mutant meets that no unit test killed (tools/mutate.py): rows of a
pattern over ROOM/FILE.c and tests that get there through the binary. All rows that match count;
one takes some seconds, all of a file together about half a minute.
"""
import re

CARBON = " ".join(f"test_carbon.py::test_{t}" for t in (
    "intensity_from_a_file", "mistakes", "sums_are_the_nodes", "calls_are_booked_to_their_app",
    "records_outlive_the_node_and_a_killed_keeper", "what_a_tenant_sees",
    "remote_back_ends_are_reported_apart"))
DEFER = " ".join(f"test_defer.py::test_{t}" for t in (
    "a_call_waits_and_its_result_can_be_fetched", "a_deadline_is_checked",
    "an_idempotency_key_makes_one_call", "a_running_call_can_be_cancelled", "calls_of_a_tenant",
    "the_component_sees_the_request_and_which_attempt_it_is", "unknown_calls_are_not_found",
    "cron_fires_what_was_missed_once", "a_deleted_app_takes_all_its_calls_along"))
OUTBOUND = " ".join(f"test_outbound.py::test_{t}" for t in (
    "request_and_answer", "bodies_go_both_ways_with_trailers", "connections_are_used_again",
    "first_byte_and_between_bytes", "http_2_by_alpn", "nonsense_is_a_protocol_error", "names",
    "tls_by_roots_of_the_configuration", "a_slow_guest_bounds_memory", "tcp", "udp"))
SQLITE = " ".join(f"test_sqlite.py::test_{t}" for t in (
    "functions", "errors", "denied", "transactions_are_the_sessions_own", "many_writers_add_up",
    "results_are_limited", "memory_is_limited", "rowid_and_changes", "v1_handles",
    "killed_store_loses_no_acknowledged_write", "what_a_guest_may_not_do"))

ROWS = [
    (r"base/", "test_routing.py test_admin.py test_doctor.py test_http.py sim/test_sim.py"),
    (r"base/log", "test_up.py::test_follow_and_quiet"
                  " test_kitchen.py::test_output_is_labelled_in_the_log"),
    (r"component/", "test_wast.py test_flatten.py test_core_modules.py test_candidate.py"
                    " test_stub.py test_build.py"),
    (r"component/(compos|link|check|eval)", "test_dependencies.py::test_a_dependency_by_path"
                                            " test_dependencies.py::test_types_that_differ"),
    (r"component/(abi|plan)", "test_compose.py::test_neighbours_environment"
                              " test_liar.py::test_plans_with_flipped_bits"),
    (r"app/", "test_routing.py test_decide.py test_doctor.py test_spin.py"),
    (r"app/toml", "test_toml.py::test_suite"),
    (r"app/(oci|archive)", "test_registry.py"),
    (r"app/files", "test_files.py"),
    (r"app/(cron|hook|manifest_defer)", "test_hooks.py"),
    (r"app/(variables|template|runtime_config)", "test_providers.py"),
    (r"carbon/", "sim/test_sim.py " + CARBON),
    (r"carbon/(provider|source)", "test_carbon.py::test_providers_are_asked"),
    (r"loop/", "test_http.py test_tls.py test_faults.py test_server.py::test_connections"),
    (r"loop/names", "test_egress.py"),
    (r"loop/(process|channel|listen)", "test_processes.py"),
    (r"http/", "test_http.py test_http_framing.py test_server.py"),
    (r"http/http2", "test_http2.py"),
    (r"store/", "test_disk.py test_store_functions.py"),
    (r"store/(kv|client|server|message)", "test_keyvalue.py"),
    (r"store/(sql|client|server|message)", SQLITE),
    (r"store/(hrana|sql_libsql)", "test_libsql.py"),
    (r"store/(queue|pending)", "test_queue.py " + DEFER),
    (r"store/queue_pg", "test_defer.py::test_the_queue_of_a_node_may_be_postgresql"),
    (r"store/(catalogue|seal)", "test_admin.py test_leftovers.py test_node.py::test_revisions"
                                " test_node.py::test_an_app_with_files_and_variables"),
    (r"store/usage", CARBON),
    (r"sched/", "sim/test_sim.py"),
    (r"sched/(pace|call|flow)", DEFER),
    (r"engine/", "test_restore.py test_secrets.py test_limits.py test_wast.py"),
    (r"host/", "test_wasi.py test_conformance.py test_chain.py"),
    (r"host/http", OUTBOUND),
    (r"host/(wasi_http|pool|guest|call|host)", "test_kitchen.py"),
    (r"host/(kv|spin|wasi_keyvalue)", "test_store_functions.py test_sdk.py::test_key_value"
                                      " test_sdk.py::test_sql_values"),
    (r"host/sockets", "test_egress.py"),
    (r"host/(compose|resources|handles)", "test_wast.py"),
    (r"host/compose", "test_compose.py::test_neighbours_environment"),
    (r"platform/", "test_routing.py test_limits.py test_processes.py test_admin.py"),
    (r"platform/(keeper|node_config|node_settings|state|guestlog|deploy|config_json)",
     "test_node.py"),
    (r"platform/(defer|inner|keeper_c|calls_message|call_log|keeper_owner)",
     "test_hooks.py " + DEFER),
    (r"platform/(sandbox|decode|compile|artifact|spawn|builder)", "test_sandbox.py test_liar.py"),
    (r"platform/(keeper_)?traces", "test_traces.py::test_the_trace_that_a_request_brings"
                                   " test_traces.py::test_what_is_lost_is_counted"),
    (r"platform/(upgrade|supervisor|keeper_serve)", "test_upgrade.py"),
    (r"platform/(oci|fetch|unpack)", "test_registry.py test_sources.py"),
    (r"platform/(tenant|turns|places|active|hosted|served|directory|keeper_directory|meter)",
     "test_serve.py test_tenants.py::test_memory_is_the_nodes"
     " test_tenants.py::test_requests_at_once_are_counted_on_the_node"
     " test_tenants.py::test_log_volume_is_the_nodes"),
    (r"platform/(egress|network|reach)", "test_egress.py"),
    (r"platform/(node_power|rapl|meter|grid|keeper_(grid|book|view|admin|question|role)|counters)",
     CARBON),
    (r"platform/grid", "test_carbon.py::test_providers_are_asked"
                       " test_carbon.py::test_a_provider_that_is_not_there"),
    (r"platform/(providers|app_config)", "test_providers.py"),
    (r"platform/(store_role|worker|supervisor)",
     "test_keyvalue.py::test_state_survives_a_restart_and_is_spins_file test_serve.py"),
    (r"platform/(local|composed|guestlog)", "test_up.py test_files.py"),
    (r"platform/(local|artifact|decode|compile|spawn)", "test_cli.py"),
    (r"platform/composed", "test_dependencies.py::test_a_dependency_by_path"),
    (r"platform/(call|hosted)\.", "test_kitchen.py test_chain.py"),
    (r"platform/state", "test_keyvalue.py " + SQLITE),
    (r"platform/(certificates|worker|supervisor)", "test_tls.py"),
    (r"platform/worker", "test_files.py::test_reads"),
    (r"ui/", "test_dashboard.py::test_weight_and_headers"),
    (r"cli/", "test_cli.py test_doctor.py test_example.py"),
    (r"cli/build", "test_build.py"),
    (r"cli/(carbon|capacity|sim|trace|options)", "sim/test_sim.py"),
    (r"cli/carbon", CARBON),
    (r"cli/(up|inspect|target)", "test_up.py"),
    (r"cli/(apps|deploy|tenants|login|target|node_client|admin_client|stores|backup|serve)",
     "test_node.py"),
    (r"cli/calls", DEFER),
    (r"cli/upgrade", "test_upgrade.py"),
]


def integration_of(path):
    """The tests, row by row, of a file given as ROOM/FILE.c."""
    return [tests for pattern, tests in ROWS if re.match(pattern, str(path))]
