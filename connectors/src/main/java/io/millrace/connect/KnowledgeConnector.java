package io.millrace.connect;

import java.util.List;
import java.util.Map;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.connect.connector.Task;
import org.apache.kafka.connect.source.SourceConnector;

/** A connector with one task, since a source is read by one reader. */
public abstract class KnowledgeConnector extends SourceConnector {
    private final Class<? extends Task> task;
    private Map<String, String> values = Map.of();

    KnowledgeConnector(Class<? extends Task> task) {
        this.task = task;
    }

    @Override
    public void start(Map<String, String> properties) {
        values = Map.copyOf(properties);
    }

    @Override
    public Class<? extends Task> taskClass() {
        return task;
    }

    @Override
    public List<Map<String, String>> taskConfigs(int maxTasks) {
        return List.of(values);
    }

    @Override
    public ConfigDef config() {
        return SourceSettings.DEFINED;
    }

    @Override
    public String version() {
        return "1";
    }

    @Override
    public void stop() {}
}
