#!/bin/bash
# Two nodes of a SLURM cluster, one worker each: submit it from the clone, with the flags of main.py:
#
#     sbatch docs/scale/slurm.sh --datasource=omniglot --num_classes=5
#
# The tasks of a step of srun find each other. With a GPU a worker: take one # away before --gpus-per-task, and ask for as
# many tasks a node as it has GPUs. --logdir and --data_dir must be where every node sees them, since another start may
# have another first node. The ports 8888 to 24887, of which every step takes its own, must be open between the nodes, and
# to nobody else.
#SBATCH --job-name=maml
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
##SBATCH --gpus-per-task=1
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --output=%x-%j.txt
#SBATCH --open-mode=append

restarts=${RESTARTS:-5}  # not more, since a worker that cannot start looks to the others like one that is lost
# None where it would begin anew; leave out the flag and #SBATCH --requeue, or a requeued job begins anew too.
grep -qiE -- '^--?(noresume|resume=(false|f|no|n|0))$' <(printf '%s\n' "$@") && restarts=0
while true; do
    # srun ends with the highest exit code of all tasks: 75 where a worker was lost, 137 where it was killed.
    srun --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --kill-on-bad-exit=0 python main.py "$@"
    code=$?
    case $code in
        75 | 137) ;;
        *) exit $code ;;  # 0: done; 2: a mistake, which its sentence explains; 130: stopped on request, and saved
    esac
    if ((restarts-- == 0)); then
        exit $code
    fi
    echo "A worker was lost (exit code $code); all are started again from the latest checkpoint" >&2
    sleep "${PAUSE:-10}"
done
