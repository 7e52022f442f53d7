package io.millrace.topology.routing;

/** Values of {@code Decision.reason}; what a rejected client is told has the failure's own reason beside it. */
public final class Reasons {
    /** The client went away. */
    public static final String CANCELLED = "cancelled";
    /** The deadline has passed. */
    public static final String DEADLINE_EXCEEDED = "deadline_exceeded";
    /** The response cache holds the answer to this very request. */
    public static final String CACHE_EXACT = "cache_exact";
    /** The response cache holds the answer to a question of the same meaning. */
    public static final String CACHE_SEMANTIC = "cache_semantic";
    /** Only evidence was asked for. */
    public static final String EVIDENCE_ONLY = "evidence_only";
    /** The client or the model name asked for local. */
    public static final String FORCED_LOCAL = "forced_local";
    /** The client or the model name asked for remote. */
    public static final String FORCED_REMOTE = "forced_remote";
    /** The client named a backend. */
    public static final String FORCED_BACKEND = "forced_backend";
    /** The client asked for extracts. */
    public static final String FORCED_EXTRACTIVE = "forced_extractive";
    /** A backend that leaves the machine was asked for by a query that may not leave. */
    public static final String EGRESS_DENIED = "egress_denied";
    /** May not leave the machine. */
    public static final String LOCAL_ONLY = "local_only";
    /** May not leave the machine, and no local model is configured. */
    public static final String LOCAL_ONLY_NO_MODEL = "local_only_no_model";
    /** No model is configured at all. */
    public static final String NO_MODEL_CONFIGURED = "no_model_configured";
    /** Only local is configured. */
    public static final String REMOTE_NOT_CONFIGURED = "remote_not_configured";
    /** Only remote is configured. */
    public static final String LOCAL_NOT_CONFIGURED = "local_not_configured";
    /** JSON output that no local deployment can do. */
    public static final String STRUCTURED_OUTPUT = "structured_output";
    /** Tools that no local deployment can use. */
    public static final String TOOLS = "tools";
    /** No local deployment answers its probe. */
    public static final String LOCAL_UNHEALTHY = "local_unhealthy";
    /** The local model is being loaded. */
    public static final String LOCAL_LOADING = "local_loading";
    /** Remote was the choice, but does not answer its probe. */
    public static final String REMOTE_UNHEALTHY = "remote_unhealthy";
    /** There is no evidence to judge by. */
    public static final String CONFIDENCE_UNKNOWN = "confidence_unknown";
    /** At or above the local threshold. */
    public static final String CONFIDENCE_HIGH = "confidence_high";
    /** At or above the fallback threshold: local first, judged. */
    public static final String CONFIDENCE_MEDIUM = "confidence_medium";
    /** Below the fallback threshold, and remote is expected to do better. */
    public static final String CONFIDENCE_LOW = "confidence_low";
    /** Below the fallback threshold, but remote is not expected to do better. */
    public static final String REMOTE_NOT_BETTER = "remote_not_better";
    /** The local answer was judged below the bar. */
    public static final String QUALITY_BELOW_BAR = "quality_below_bar";
    /** No better answer could be had, so the withheld one is delivered. */
    public static final String WITHHELD_RELEASED = "withheld_released";
    /** The attempt failed before content; another deployment of the backend tries. */
    public static final String NEXT_DEPLOYMENT = "next_deployment";
    /** The local attempts failed before content; remote tries. */
    public static final String FALLBACK_REMOTE = "fallback_remote";
    /** The remote attempts failed before content; local tries. */
    public static final String FALLBACK_LOCAL = "fallback_local";
    /** The attempt broke after content had left: there is no second one. */
    public static final String CONTENT_SENT = "content_sent";

    private Reasons() {}
}
