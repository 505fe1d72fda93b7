//! The text behind `--help`.

use super::EXECUTABLE;

/// What is printed for `--help`, and after a flag that does not exist.
pub(super) fn text() -> String {
    format!("\nUsage: {EXECUTABLE} [options]\n{OPTIONS}\n")
}

const OPTIONS: &str = "
Server Options:
    -a, --addr, --net <host>         Address to listen on (default: 0.0.0.0)
    -p, --port <port>                Port for clients, -1 for a free one (default: 4222)
    -n, --name
        --server_name <name>         Name of this server (default: its id)
    -P, --pid <file>                 Write the process id to this file
    -m, --http_port <port>           Port for http monitoring
    -ms,--https_port <port>          Port for https monitoring
    -c, --config <file>              Configuration file
    -t                               Check the configuration file and exit
    -sl,--signal <signal>[=<pid>]    Signal a running server: ldm, stop, quit, term, reopen, reload
                                     <pid> is a process id, a file holding one, or the start of
                                     one followed by '*'
        --client_advertise <string>  Address that clients are told to connect to
        --ports_file_dir <dir>       Write <executable>_<pid>.ports to this directory

Core Options:
        --profile <name>             dev, latency or throughput: fills in the two below
        --cores <number>             Cores to use (default: all that the process may run on)
        --spin <duration>            How long a core looks for work before it sleeps

Logging Options:
    -l, --log <file>                 Log to this file instead of standard error
    -T, --logtime                    Stamp log lines with the time (default: true)
        --logtime_utc                ... in UTC instead of local time
    -s, --syslog                     Log to syslog
    -r, --remote_syslog <addr>       Address of a syslog server (udp://localhost:514)
    -D, --debug                      Log debugging lines
    -V, --trace                      Log protocol lines
    -VV                              Log protocol lines, the system account's too
    -DV                              Both -D and -V
    -DVV                             Both -D and -VV
        --log_size_limit <limit>     Set the log file aside at this many bytes
        --max_traced_msg_len <len>   Show at most this many bytes of a message (default: all)

JetStream Options:
    -js, --jetstream                 Enable JetStream
    -sd, --store_dir <dir>           Directory for its data

Authorization Options:
        --user <user>                User that clients must name
        --pass <password>            Password that goes with it
        --auth <token>               Token that clients must give

TLS Options:
        --tls                        Enable TLS without verifying clients
        --tlscert <file>             Certificate of this server
        --tlskey <file>              Its private key
        --tlsverify                  Enable TLS and verify clients
        --tlscacert <file>           Certificate authority of the clients

Cluster Options:
        --routes <url, url>          Servers to connect to
        --cluster <url>              Where to listen for other servers
        --cluster_listen <url>       The same
        --cluster_name <string>      Name of the cluster (default: made up)
        --no_advertise <bool>        Do not tell clients about other servers
        --cluster_advertise <string> Address that other servers are told to connect to
        --connect_retries <number>   How often to retry a server that was learned about

Profiling Options:
        --profile <port>             Port for profiles over http

Common Options:
    -h, --help                       Show this text
    -v, --version                    Show the version
        --help_tls                   Show help on TLS
";

/// What is printed for `--help_tls`.
pub(super) const TLS: &str = "\
TLS is configured by a block of the configuration file:

    tls {
        cert_file: \"server-cert.pem\"
        key_file:  \"server-key.pem\"
        ca_file:   \"ca.pem\"
        verify:    true
    }

This version checks such a block and does not serve TLS yet.
";
