//! What normalisations do to memory, in symbols.

use super::effects::{Done, Interpreter};
use super::meaning::names;
use super::memory::{Form, Found, Zeros};
use super::terms::Tensor;
use crate::packed::{Content, ParamId};
use crate::step::norm::{BatchStatistics, Normalisation, NormaliseGradient, StatisticsAt};

impl Interpreter<'_> {
    pub(super) fn measure(&mut self, step: &BatchStatistics) -> Done {
        let x = self.x(step.x)?;
        let channels = self.terms.channels(x);
        let value = self.terms.apply("statistics".to_owned(), &[x], channels);
        self.spoil(step.work);
        let view = self.opaque(step.statistics, Form::Batch);
        let found = Found { value, zeros: Zeros::ALL };
        self.memory.write(self.terms, &view, self.at, &found, |_| false);
        match self.statistics.insert(step.running.0, value) {
            None => Ok(()),
            Some(_) => Err("the running statistics follow twice".to_owned()),
        }
    }

    fn vector_name(&self, param: ParamId) -> Result<String, String> {
        let Content::Vector { name } = self.content(param) else {
            return Err(format!("a vector was expected: {:?}", self.content(param)));
        };
        Ok(name.clone())
    }

    /// The name and arguments of a normalisation.
    pub(super) fn normal(
        &mut self,
        by: &Normalisation,
        x: Tensor,
    ) -> Result<(String, Vec<Tensor>), String> {
        let [weight, bias] = [self.vector_name(by.weight)?, self.vector_name(by.bias)?];
        let mut args = vec![x];
        let statistics = match by.statistics {
            StatisticsAt::Batch(buffer) => {
                args.push(self.batch(buffer)?);
                "the batch's".to_owned()
            }
            StatisticsAt::Param(param) => match self.content(param) {
                Content::Statistics { name } => format!("those of {name}"),
                Content::Identity => "none".to_owned(),
                Content::Matrix { .. }
                | Content::Vector { .. }
                | Content::FoldedBias { .. }
                | Content::Plain { .. } => return Err("statistics were expected".to_owned()),
            },
        };
        Ok((names::normal(&weight, &bias, &statistics, by.eps), args))
    }

    pub(super) fn undo_normal(&mut self, step: &NormaliseGradient) -> Done {
        let NormaliseGradient { by, sum, .. } = step;
        let x = self.x(step.x)?;
        let mut dy = self.x(step.dy)?;
        let (name, mut args) = self.normal(by, x)?;
        if step.y.is_some() != (by.relu && *sum) || *sum && step.dx.is_none() {
            return Err("the gradient of the summand is lost".to_owned());
        }
        if let Some(y) = step.y {
            let y = self.x(y)?;
            dy = self.apply("mask".to_owned(), &[y, dy]);
            self.replace(step.dy, dy)?;
            // The summand may need no gradient; the kernel makes it all the same.
            self.operand(step.dy)?;
        } else if by.relu {
            let y = self.apply(name.clone(), &args);
            let y = self.relu_if(true, y);
            dy = self.apply("mask".to_owned(), &[y, dy]);
        }
        args.push(dy);
        // By statistics that stay it is a factor for each channel.
        let of_dx = if matches!(by.statistics, StatisticsAt::Batch(_)) { &args[..] } else { &[dy] };
        let dx = self.apply(format!("dx: {name}"), of_dx);
        self.spoil(step.sums);
        self.spoil(step.work);
        if self.trains {
            self.gradient(by.weight, &format!("dweight: {name}"), &args)?;
            self.gradient(by.bias, &format!("dbias: {name}"), &args)?;
        }
        match step.dx {
            None => self.replace(step.dy, dx)?,
            Some(_) => self.result(dx)?,
        }
        // The kernel computes it whether somebody reads it or not.
        let input = self.graph.node(self.step().node).inputs[0];
        if !self.meaning.learns[input.index()] {
            self.operand(self.target())?;
        }
        Ok(())
    }
}
