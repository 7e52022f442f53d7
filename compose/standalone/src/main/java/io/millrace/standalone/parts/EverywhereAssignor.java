package io.millrace.standalone.parts;

import java.util.Map;
import java.util.Set;
import java.util.function.Function;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.coordinator.group.api.assignor.GroupAssignment;
import org.apache.kafka.coordinator.group.api.assignor.GroupSpec;
import org.apache.kafka.coordinator.group.api.assignor.MemberAssignment;
import org.apache.kafka.coordinator.group.api.assignor.ShareGroupPartitionAssignor;
import org.apache.kafka.coordinator.group.api.assignor.SubscribedTopicDescriber;

/**
 * Every member of a share group takes work from all partitions. Kafka's own assignor divides them while there are no more members
 * than partitions, so that what lies on those of a killed member waits until its session ends, though others have room for it
 * (KIP-932: what a share group shares are records). The broker creates it by its name.
 */
public final class EverywhereAssignor implements ShareGroupPartitionAssignor {
    private record Assigned(Map<Uuid, Set<Integer>> partitions) implements MemberAssignment {}

    @Override
    public String name() {
        return "everywhere";
    }

    @Override
    public GroupAssignment assign(GroupSpec group, SubscribedTopicDescriber topics) {
        return new GroupAssignment(group.memberIds().stream()
                .collect(Collectors.toMap(
                        Function.identity(),
                        member -> new Assigned(group.memberSubscription(member).subscribedTopicIds().stream()
                                .collect(Collectors.toMap(Function.identity(), topic -> all(topic, group, topics)))))));
    }

    private static Set<Integer> all(Uuid topic, GroupSpec group, SubscribedTopicDescriber topics) {
        return IntStream.range(0, topics.numPartitions(topic))
                .filter(partition -> group.isPartitionAssignable(topic, partition))
                .boxed()
                .collect(Collectors.toUnmodifiableSet());
    }
}
