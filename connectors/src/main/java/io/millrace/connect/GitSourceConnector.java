package io.millrace.connect;

/** See {@link GitSourceTask}. */
public final class GitSourceConnector extends KnowledgeConnector {
    public GitSourceConnector() {
        super(GitSourceTask.class);
    }
}
